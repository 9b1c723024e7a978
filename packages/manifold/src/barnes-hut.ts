/** Below this depth points are taken to coincide: cells are 2⁻⁴⁰ of the whole. */
const maximumDepth = 40;

/**
 * Repulsive forces of t-SNE in the plane by a quadtree (Barnes & Hut 1986; van der Maaten 2014, §4.2): a cell that looks smaller than
 * `theta` from a point acts as its centre of mass.
 *
 * @param y - [count, 2] positions
 * @param theta - 0 is exact, 0.5 usual
 * @param forces - [count, 2], overwritten with Σ_j q_ij² (y_i − y_j), q_ij = 1/(1 + ‖y_i − y_j‖²)
 * @returns Z = Σ_{i≠j} q_ij. O(count · log count).
 */
export function barnesHutRepulsion(y: Float64Array, theta: number, forces: Float64Array): number {
  const count = y.length / 2;
  let capacity = 2 * count + 64;
  let children = new Int32Array(4 * capacity);
  let masses = new Float64Array(capacity);
  let sums = new Float64Array(2 * capacity);
  // Point that is alone in a leaf, or −1 for an inner cell or a pile of points at the maximum depth.
  let tenants = new Int32Array(capacity).fill(-1);
  let used = 1;

  let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < count; i++) {
    left = Math.min(left, y[2 * i]);
    right = Math.max(right, y[2 * i]);
    bottom = Math.min(bottom, y[2 * i + 1]);
    top = Math.max(top, y[2 * i + 1]);
  }
  const rootHalf = Math.max(right - left, top - bottom) / 2 + Number.MIN_VALUE;
  const rootX = (left + right) / 2;
  const rootY = (bottom + top) / 2;

  function childOf(node: number, quadrant: number): number {
    const at = 4 * node + quadrant;
    if (children[at] === 0) {
      if (used === capacity) grow();
      children[at] = used++;
    }
    return children[at];
  }

  function grow(): void {
    capacity *= 2;
    const wider = <A extends Int32Array | Float64Array>(to: A, from: A): A => {
      to.set(from);
      return to;
    };
    children = wider(new Int32Array(4 * capacity), children);
    masses = wider(new Float64Array(capacity), masses);
    sums = wider(new Float64Array(2 * capacity), sums);
    tenants = wider(new Int32Array(capacity).fill(-1), tenants);
  }

  function insert(point: number, from: number, x0: number, y0: number, half0: number, depth0: number): void {
    let [node, x, z, half] = [from, x0, y0, half0];
    for (let depth = depth0; ; depth++) {
      const empty = masses[node] === 0;
      masses[node]++;
      sums[2 * node] += y[2 * point];
      sums[2 * node + 1] += y[2 * point + 1];
      if (empty) {
        tenants[node] = point;
        return;
      }
      if (depth === maximumDepth) {
        tenants[node] = -1;
        return;
      }
      const tenant = tenants[node];
      half /= 2;
      if (tenant >= 0) {
        tenants[node] = -1;
        const quadrant = (y[2 * tenant] > x ? 1 : 0) + (y[2 * tenant + 1] > z ? 2 : 0);
        const child = childOf(node, quadrant);
        masses[child] = 1;
        sums[2 * child] = y[2 * tenant];
        sums[2 * child + 1] = y[2 * tenant + 1];
        tenants[child] = tenant;
      }
      const quadrant = (y[2 * point] > x ? 1 : 0) + (y[2 * point + 1] > z ? 2 : 0);
      node = childOf(node, quadrant);
      x += quadrant & 1 ? half : -half;
      z += quadrant & 2 ? half : -half;
    }
  }

  for (let i = 0; i < count; i++) insert(i, 0, rootX, rootY, rootHalf, 0);

  const stack = new Int32Array(4 * maximumDepth + 8);
  const widths = new Float64Array(stack.length);
  let total = 0;
  for (let i = 0; i < count; i++) {
    let [fx, fy] = [0, 0];
    stack[0] = 0;
    widths[0] = 2 * rootHalf;
    for (let waiting = 1; waiting > 0; ) {
      const node = stack[--waiting];
      const width = widths[waiting];
      if (tenants[node] === i) continue;
      const mass = masses[node];
      const dx = y[2 * i] - sums[2 * node] / mass;
      const dy = y[2 * i + 1] - sums[2 * node + 1] / mass;
      const squared = dx * dx + dy * dy;
      const pile = tenants[node] < 0 && isPile(node);
      if (pile || tenants[node] >= 0 || width * width < theta * theta * squared) {
        // In a pile that holds the point itself, the others push from its own place.
        const others = pile && squared <= width * width ? mass - 1 : mass;
        const q = 1 / (1 + squared);
        total += others * q;
        fx += others * q * q * dx;
        fy += others * q * q * dy;
        continue;
      }
      for (let c = 0; c < 4; c++) {
        const child = children[4 * node + c];
        if (child === 0) continue;
        stack[waiting] = child;
        widths[waiting++] = width / 2;
      }
    }
    forces[2 * i] = fx;
    forces[2 * i + 1] = fy;
  }
  return total;

  function isPile(node: number): boolean {
    const at = 4 * node;
    return children[at] + children[at + 1] + children[at + 2] + children[at + 3] === 0;
  }
}

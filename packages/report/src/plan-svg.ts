import { groupName, keptLayer, type MergePlan } from "@layerfold/core";
import { element, escapeText, label, seriesClass, seriesColors, svgDocument, tones } from "./svg.js";

/**
 * A plan as a picture: the dense model's layers above, the layers that remain below, and bands from each group to the layer that it
 * becomes. A dropped layer is an empty, dashed box.
 */
export function planSvg(plan: MergePlan, title: string): string {
  const count = plan.num_hidden_layers;
  const left = 4;
  const pitch = Math.min(56, Math.max(11, 1060 / count));
  const box = pitch - Math.min(6, pitch * 0.16);
  const height = Math.min(30, box * 0.9 + 6);
  const above = 30;
  const below = above + height + 46;
  const small = box < 16;
  const parts = [label(left, 15, title, { size: 13 })];
  let folded = 0;
  plan.groups.forEach((group, index) => {
    const kept = keptLayer(group);
    const start = left + group.layers[0] * pitch;
    const end = start + (group.layers.length - 1) * pitch + box;
    const x = (start + end - box) / 2;
    const alone = group.layers.length === 1;
    const color = alone ? undefined : folded++;
    const about = describe(group.layers, kept, group.weights);
    // A drop's band comes from the layer that stays, a fold's from all of its layers.
    const from = kept === undefined ? [start, end] : [left + kept * pitch, left + kept * pitch + box];
    const band = `M${from[0]} ${above + height}H${from[1]}C${from[1]} ${above + height + 24} ${x + box} ${below - 24} ${x + box} ${below}H${x}C${x} ${below - 24} ${from[0]} ${above + height + 24} ${from[0]} ${above + height}Z`;
    const cells = group.layers.map((layer) =>
      cell(
        left + layer * pitch,
        above,
        box,
        height,
        `${layer}`,
        color,
        kept !== undefined && kept !== layer,
        small,
      ),
    );
    parts.push(
      element(
        "g",
        {},
        [
          `<title>${escapeText(about)}</title>`,
          element("path", {
            d: round(band),
            ...paint(color),
            "fill-opacity": color === undefined ? "0.6" : "0.28",
          }),
          ...cells,
          cell(x, below, box, height, `${index}`, color, false, small),
        ].join(""),
      ),
    );
  });
  const width = left + count * pitch + 4;
  const groups = plan.groups.filter((g) => g.layers.length > 1).map(groupName);
  const description = `${count} layers become ${plan.groups.length}; together: ${groups.join("; ") || "none"}`;
  return svgDocument(
    { width: Math.max(width, 240), height: below + height + 6 },
    title,
    description,
    parts.join(""),
  );
}

function describe(
  layers: readonly number[],
  kept: number | undefined,
  weights: readonly number[] | undefined,
): string {
  if (layers.length === 1) return `${groupName({ layers })} stays`;
  if (kept !== undefined)
    return `layer ${kept} stays, ${layers.filter((l) => l !== kept).join(", ")} dropped`;
  const shares = weights ? ` with weights ${weights.map((w) => w.toFixed(3)).join(", ")}` : "";
  return `${groupName({ layers })} fold into one${shares}`;
}

function paint(color: number | undefined) {
  if (color === undefined) return { class: "lf-plate", fill: tones.plate.light };
  return { class: seriesClass(color, "fill"), fill: seriesColors[color % seriesColors.length] };
}

function cell(
  x: number,
  y: number,
  width: number,
  height: number,
  text: string,
  color: number | undefined,
  dropped: boolean,
  small: boolean,
): string {
  const shared = { x, y, width, height, rx: Math.min(4, width / 4) };
  const shape = dropped
    ? element("rect", {
        ...shared,
        fill: "none",
        class: "lf-outline",
        stroke: tones.soft.light,
        "stroke-dasharray": "3 3",
      })
    : element("rect", { ...shared, ...paint(color) });
  if (small) return shape;
  const place = {
    x: x + width / 2,
    y: y + height / 2 + 4,
    "text-anchor": "middle",
    "font-size": Math.min(12, width * 0.5),
  };
  // Numbers on a coloured box are white on the light scheme's dark colours, black on the dark scheme's light ones.
  const tone =
    color !== undefined && !dropped
      ? { class: "lf-on", fill: "#ffffff" }
      : { class: dropped ? "lf-soft" : "lf-ink", fill: dropped ? tones.soft.light : tones.ink.light };
  return shape + element("text", { ...place, ...tone }, text);
}

function round(path: string): string {
  return path.replace(/\d+\.\d+/g, (n) => String(Math.round(Number(n) * 100) / 100));
}

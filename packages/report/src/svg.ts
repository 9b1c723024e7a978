/** Text made safe for element content and quoted attributes of HTML and SVG. */
export function escapeText(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** A coordinate or length with as many digits as a screen can show. */
function px(value: number): string {
  return String(Math.round(value * 100) / 100);
}

/** An SVG element; attributes that are undefined are left out, their values are escaped. `body` is markup. */
export function element(
  name: string,
  attributes: Readonly<Record<string, string | number | undefined>>,
  body?: string,
): string {
  const given = Object.entries(attributes).flatMap(([key, value]) => {
    if (value === undefined) return [];
    return ` ${key}="${typeof value === "number" ? px(value) : escapeText(value)}"`;
  });
  return body === undefined ? `<${name}${given.join("")}/>` : `<${name}${given.join("")}>${body}</${name}>`;
}

/** A text element. */
export function label(
  x: number,
  y: number,
  text: string,
  options: {
    anchor?: "start" | "middle" | "end";
    size?: number;
    tone?: "ink" | "soft";
    transform?: string;
  } = {},
): string {
  const { anchor = "start", size = 12, tone = "ink", transform } = options;
  return element(
    "text",
    {
      x,
      y,
      "text-anchor": anchor,
      "font-size": size,
      class: `lf-${tone}`,
      fill: tones[tone].light,
      transform,
    },
    escapeText(text),
  );
}

/** Colours that change with the reader's scheme: the light one stands in an attribute, which every viewer understands. */
export const tones = {
  ink: { light: "#1c2330", dark: "#e7ecf3" },
  soft: { light: "#5b6675", dark: "#9aa7b8" },
  line: { light: "#d9dee6", dark: "#333d4b" },
  plate: { light: "#eef1f5", dark: "#252d39" },
} as const;

/** Colours of series, told apart by readers of any colour vision (Okabe & Ito 2008, darkened to read on white). */
export const seriesColors = ["#0072b2", "#d55e00", "#009e73", "#b5538c", "#b07d00", "#59636f"] as const;
const seriesColorsDark = ["#56b4e9", "#ff9a5c", "#37c99b", "#e59ac4", "#f0c34a", "#b6bfca"] as const;

/** Class of a series' marks; `seriesColors` holds the light colour. */
export function seriesClass(index: number, use: "stroke" | "fill"): string {
  return `lf-${use}-${index % seriesColors.length}`;
}

const darkRules = [
  ...(["ink", "soft"] as const).map((tone) => `.lf-${tone}{fill:${tones[tone].dark}}`),
  `.lf-line{stroke:${tones.line.dark}}`,
  `.lf-plate{fill:${tones.plate.dark}}`,
  ".lf-on{fill:#10151d}",
  `.lf-outline{stroke:${tones.soft.dark}}`,
  ...seriesColorsDark.flatMap((color, i) => [
    `.lf-stroke-${i}{stroke:${color}}`,
    `.lf-fill-${i}{fill:${color}}`,
  ]),
].join("");

/**
 * A whole SVG document that also stands inside HTML: scales to its place, names itself to screen readers, follows the
 * reader's light or dark scheme, and refers to nothing outside itself.
 */
export function svgDocument(
  size: { width: number; height: number },
  title: string,
  description: string,
  body: string,
): string {
  return element(
    "svg",
    {
      xmlns: "http://www.w3.org/2000/svg",
      viewBox: `0 0 ${px(size.width)} ${px(size.height)}`,
      width: size.width,
      height: size.height,
      role: "img",
      "aria-label": `${title}. ${description}`,
      "font-family": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
    },
    `<style>@media screen and (prefers-color-scheme:dark){${darkRules}}</style>${body}`,
  );
}

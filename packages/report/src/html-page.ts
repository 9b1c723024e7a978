import { reportStyle } from "./report-style.js";
import { escapeText } from "./svg.js";

/** A page around sections of markup; false ones are left out. */
export function htmlPage(title: string, sections: readonly (string | false | undefined)[]): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeText(title)}</title>
<style>${reportStyle}</style>
</head>
<body>
<main>
${sections.filter(Boolean).join("\n")}
</main>
</body>
</html>
`;
}

export function section(heading: string, lead: string, body: string): string {
  return `<section><h2>${escapeText(heading)}</h2><p>${escapeText(lead)}</p>${body}</section>`;
}

/** What a reader who is new to it must know of the figures. */
export const meaning = `<section class="meaning"><h2>What the figures mean</h2>
<p><b>Perplexity</b> is how many tokens the model hesitates between, on average, at each token of a text that it has not been fitted to: lower is better, and the dense model's is the mark. <b>KL to dense</b> is how far the model's predictions are from the dense model's, in nats per token. <b>Accuracy</b> is the share of questions answered rightly, with its standard error: differences of about that size mean nothing. Answers can survive where language does not, so read accuracy and perplexity together. <b>Of parameters</b> counts every stored weight once.</p></section>`;

/** Title, subtitle and what the reader must know before trusting the figures. */
export function opening({
  title,
  subtitle,
  notes = [],
}: {
  title: string;
  subtitle?: string | undefined;
  notes?: readonly string[] | undefined;
}): string {
  const list = notes.map((note) => `<li>${escapeText(note)}</li>`).join("");
  return [
    `<header><h1>${escapeText(title)}</h1>${subtitle ? `<p>${escapeText(subtitle)}</p>` : ""}</header>`,
    notes.length > 0 ? `<section class="notes"><ul>${list}</ul></section>` : "",
  ].join("");
}

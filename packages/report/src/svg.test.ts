import { expect, it } from "vitest";
import { element, escapeText } from "./svg.js";

it("escapes what would end a text or an attribute", () => {
  expect(escapeText(`<a href="x" title='y'>&`)).toBe("&#60;a href=&#34;x&#34; title=&#39;y&#39;&#62;&#38;");
  expect(element("rect", { x: 1.234567, "aria-label": 'a"b', fill: undefined })).toBe(
    '<rect x="1.23" aria-label="a&#34;b"/>',
  );
});

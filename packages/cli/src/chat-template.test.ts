import { describe, expect, it } from "vitest";
import { renderChatTemplate } from "./chat-template.js";

const code = (wanted: string) => expect.objectContaining({ code: wanted });
const render = (template: string, options = {}, signal?: AbortSignal) =>
  renderChatTemplate(template, { messages: [{ role: "user", content: "Hi" }] }, "model", signal, options);

describe("renderChatTemplate", () => {
  it("renders", async () => {
    expect(await render("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")).toBe("<user>Hi");
  });

  it("passes on what the template says of it", async () => {
    await expect(render("{{ raise_exception('roles must alternate') }}")).rejects.toThrow(
      code("CHAT_TEMPLATE_FAILED"),
    );
    await expect(render("{{ raise_exception('roles must alternate') }}")).rejects.toThrow(
      /roles must alternate \(at model\)$/,
    );
    await expect(render("{% for %}")).rejects.toThrow(code("CHAT_TEMPLATE_FAILED"));
  });

  // A thousand times a thousand times a thousand rounds, and no more memory than a thousand numbers three times.
  const endless = "{% for a in range(1000) %}".repeat(3) + "{% endfor %}".repeat(3);

  it("breaks off what does not come to an end, or is interrupted", async () => {
    await expect(render(endless, { timeLimit: 0.5 })).rejects.toThrow(code("CHAT_TEMPLATE_SLOW"));
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 300);
    await expect(render(endless, {}, controller.signal)).rejects.toThrow(code("INTERRUPTED"));
  });

  it("breaks off what fills the memory", async () => {
    const filling = "{% for i in range(1000000000) %}x{% endfor %}";
    await expect(render(filling, { memoryMebibytes: 32 })).rejects.toThrow(code("CHAT_TEMPLATE_FAILED"));
  });
});

import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSafetensors, writeSafetensors } from "@layerfold/checkpoint";
import { checkpoint } from "@layerfold/foldling";
import { afterAll, beforeAll, expect, it } from "vitest";
import { json } from "./run-command.js";

const scratch = mkdtempSync(join(tmpdir(), "layerfold-not-finite-"));
const model = join(scratch, "model");
const at = (name: string) => join(scratch, name);
afterAll(() => rmSync(scratch, { recursive: true }));

/** foldling with a NaN in one bfloat16 weight of layer 3. */
beforeAll(async () => {
  const name = "model.layers.3.mlp.down_proj.weight";
  cpSync(checkpoint, model, { recursive: true });
  const file = await openSafetensors(join(model, "model.safetensors"));
  const tensors = [];
  for (const { name: each, dtype, shape } of file.tensors.values()) {
    const bytes = await file.readBytes(each);
    if (each === name) bytes.set([0xc0, 0x7f], 2 * 5);
    tensors.push({ name: each, dtype, shape, bytes: () => bytes });
  }
  await file.close();
  await writeSafetensors(join(model, "model.safetensors"), tensors);
  const row = (each: string, value: (i: number) => bigint) => ({
    name: each,
    dtype: "int64" as const,
    shape: [1, 4],
    bytes: () => new Uint8Array(BigInt64Array.from({ length: 4 }, (_, i) => value(i)).buffer),
  });
  await writeSafetensors(at("ids.safetensors"), [
    row("input_ids", (i) => BigInt(3 + 7 * i)),
    row("attention_mask", () => 1n),
  ]);
});

it("trace names the layer whose stream is not finite, and writes nothing", async () => {
  const out = at("trace.safetensors");
  const { code, error } = await json("trace", model, "--input", at("ids.safetensors"), "--out", out);
  expect(code).toBe(2);
  expect(error).toMatchObject({ code: "ACTIVATION_NOT_FINITE", where: "after layer 3, row 0, token 0" });
  expect(existsSync(out)).toBe(false);
});

it("generate refuses to choose among logits that are no numbers", async () => {
  const { error } = await json("generate", model, "--prompt", "Mara", "--max-new-tokens", "2");
  expect(error.code).toBe("LOGITS_NOT_FINITE");
});

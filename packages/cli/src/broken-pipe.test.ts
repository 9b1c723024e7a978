import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

it.each([["stdout"], ["stderr"]] as const)("ends without a word once nobody reads %s", async (closed) => {
  const program = `
    import { createJiti } from "jiti";
    const { endWithReader } = await createJiti(import.meta.url).import("./broken-pipe.ts");
    endWithReader();
    setInterval(() => process.${closed}.write("a line\\n"), 5);`;
  const cwd = fileURLToPath(new URL(".", import.meta.url));
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], { cwd });
  const other = closed === "stdout" ? child.stderr : child.stdout;
  let said = "";
  other.on("data", (text) => {
    said += text;
  });
  child[closed].once("data", () => child[closed].destroy());
  const [code] = await once(child, "close");
  expect([code, said]).toEqual([1, ""]);
});

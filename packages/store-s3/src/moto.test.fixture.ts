import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** `moto_server`, as $LAYERFOLD_MOTO or the PATH has it; nothing where there is none. */
export function findMoto(): string | undefined {
  const program = process.env.LAYERFOLD_MOTO || "moto_server";
  return spawnSync(program, ["--help"]).status === 0 ? program : undefined;
}

/** A server that others wrote, with a bucket. */
export async function startMoto(program: string, bucket: string) {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  const child = spawn(program, ["-H", "127.0.0.1", "-p", `${port}`], { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries++) {
    const made = await fetch(`${url}/${bucket}`, { method: "PUT" }).catch(() => undefined);
    if (made?.ok) break;
    if (tries > 300) throw new Error(`${program} does not answer`);
    await sleep(100);
  }
  return {
    url,
    async close() {
      child.kill();
      await once(child, "exit");
    },
  };
}

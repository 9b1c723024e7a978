import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const program = ["redis-server", "valkey-server"].find((name) => !spawnSync(name, ["--version"]).error);

/** Why there is no server to test against, where there is none. */
export const noServer =
  program === undefined ? "no redis-server is installed: apt-get install redis-server" : undefined;

/** A server of the test's own, in a temporary folder, on a port that was free. It keeps nothing when it stops. */
export interface RedisServer {
  readonly port: number;
  readonly url: string;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** What `redis-cli` says. */
  tell(...args: string[]): string;
  remove(): Promise<void>;
}

export async function redisServer(): Promise<RedisServer> {
  const folder = mkdtempSync(join(tmpdir(), "layerfold-redis-"));
  const port = await freePort();
  let child: ChildProcess | undefined;
  const tell = (...args: string[]) =>
    spawnSync("redis-cli", ["-p", `${port}`, ...args], { encoding: "utf8" }).stdout.trim();
  const server: RedisServer = {
    port,
    url: `redis://127.0.0.1:${port}`,
    tell,
    async start() {
      const args = ["--port", `${port}`, "--bind", "127.0.0.1", "--dir", folder, "--save", ""];
      child = spawn(program!, args, { stdio: "ignore" });
      while (tell("ping") !== "PONG") await sleep(20);
    },
    async stop() {
      if (!child || child.exitCode !== null || child.signalCode !== null) return;
      const exit = once(child, "exit");
      child.kill("SIGKILL");
      await exit;
    },
    async remove() {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await server.start();
  return server;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, "close");
  return port;
}

// Packs every package, lints the tarballs, installs them in an empty project and uses them as a stranger would.
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { publint } from "publint";
import { formatMessage } from "publint/utils";

const root = fileURLToPath(new URL("..", import.meta.url));
const pnpm = (args, cwd) =>
  execFileSync("npx", ["--yes", "pnpm@10.34.8", ...args], {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });

const errors = [];
const scratch = mkdtempSync(join(tmpdir(), "layerfold-pack-"));
try {
  const tarballs = {};
  const directories = ["packages", "models"].flatMap((folder) =>
    readdirSync(join(root, folder)).map((name) => join(root, folder, name)),
  );
  for (const directory of directories.filter((d) => existsSync(join(d, "package.json")))) {
    const { name } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
    const packed = JSON.parse(pnpm(["pack", "--json", "--pack-destination", scratch], directory));
    tarballs[name] = packed.filename;
    for (const { path } of packed.files) {
      if (/\.test\.|(^|\/)golden\/|^src\//.test(path)) errors.push(`${name}: packs ${path}`);
    }
    const { messages, pkg } = await publint({
      pack: { tarball: new Uint8Array(readFileSync(packed.filename)).buffer },
    });
    for (const message of messages) {
      if (message.type !== "suggestion")
        errors.push(`${name}: ${formatMessage(message, pkg, { color: false })}`);
    }
  }

  const project = join(scratch, "project");
  mkdirSync(project);
  const files = Object.fromEntries(Object.entries(tarballs).map(([name, file]) => [name, `file:${file}`]));
  writeFileSync(
    join(project, "package.json"),
    JSON.stringify({ private: true, type: "module", dependencies: files, pnpm: { overrides: files } }),
  );
  pnpm(["install", "--ignore-scripts", "--prefer-offline", "--config.confirmModulesPurge=false"], project);
  const libraries = Object.keys(tarballs).filter((name) => name !== "@layerfold/foldling");
  writeFileSync(
    join(project, "use.js"),
    libraries
      .map(
        (name) =>
          `if (Object.keys(await import("${name}")).length === 0) throw new Error("${name} exports nothing");`,
      )
      .join("\n"),
  );
  execFileSync("node", ["use.js"], { cwd: project, stdio: "inherit" });
  const help = execFileSync(join(project, "node_modules", ".bin", "layerfold"), ["--help"], {
    encoding: "utf8",
  });
  if (!help.includes("compress")) errors.push("layerfold --help does not mention compress");
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
for (const error of errors) console.error(error);
console.log(
  errors.length === 0 ? "packed packages: install and import" : `packed packages: ${errors.length} errors`,
);
process.exitCode = errors.length === 0 ? 0 : 1;

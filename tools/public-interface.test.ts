import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, expect, it } from "vitest";

// What every package exports, with its declared types, stands in public-interface/NAME.txt: a change of it shows in a review. Where it was meant,
// `npx vitest run tools/public-interface.test.ts -u` writes it anew.

const root = fileURLToPath(new URL("..", import.meta.url));
const packages = readdirSync(join(root, "packages")).filter((name) =>
  existsSync(join(root, "packages", name, "package.json")),
);

beforeAll(async () => {
  // Declarations of what the sources are now; nothing where they are built already.
  const projects = packages.map((name) => join("packages", name));
  await promisify(execFile)(
    process.execPath,
    [join(root, "node_modules/typescript/bin/tsc"), "--build", ...projects],
    {
      cwd: root,
    },
  );
});

it.each(packages)("%s offers what it offered", async (name) => {
  const index = join(root, "packages", name, "dist/index.d.ts");
  const lines = publicInterface(index).join("\n\n");
  await expect(`${lines}\n`).toMatchFileSnapshot(join(root, "tools/public-interface", `${name}.txt`));
});

/** The declarations of all exported names, sorted by name. */
function publicInterface(index: string): string[] {
  const found: [name: string, text: string][] = [];
  for (const statement of statementsOf(index)) {
    const list = /^export (type )?\{([^}]*)\} from "([^"]+)";$/.exec(statement.replace(/\s+/g, " "));
    if (!list) {
      // Its own declarations, and whole packages that are handed on.
      found.push([nameOf(statement) ?? statement, statement]);
      continue;
    }
    const [, , names, module] = list;
    for (const entry of names.split(",").map((part) => part.trim().replace(/^type /, ""))) {
      if (entry === "") continue;
      const [original, alias = original] = entry.split(" as ");
      const declared = module.startsWith(".")
        ? statementsOf(join(dirname(index), module.replace(/\.js$/, ".d.ts"))).filter(
            (s) => nameOf(s) === original,
          )
        : [`export { ${entry} } from "${module}";`];
      if (declared.length === 0) {
        // Handed on once more, from a package of others'.
        const handed = statementsOf(join(dirname(index), module.replace(/\.js$/, ".d.ts"))).some(
          (statement) => new RegExp(`^export \\{[^}]*\\b${original}\\b[^}]*\\};$`).test(statement),
        );
        if (!handed) throw new Error(`${index}: no declaration of ${original} in ${module}`);
        declared.push(`export { ${original} };`);
      }
      found.push([alias, [...(alias === original ? [] : [`// as ${alias}`]), ...declared].join("\n")]);
    }
  }
  return found.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text);
}

const files = new Map<string, readonly string[]>();

/** The top-level statements of a declaration file, without comments. */
function statementsOf(file: string): readonly string[] {
  const known = files.get(file);
  if (known) return known;
  const statements: string[] = [];
  const text = readFileSync(file, "utf8").replace(/^\s*\/\*\*[\s\S]*?\*\/\n/gm, "");
  for (const line of text.split("\n")) {
    if (line.trim() === "" || line.startsWith("//")) continue;
    if (/^(export|import|declare|interface|type)\b/.test(line)) statements.push(line);
    else statements[statements.length - 1] += `\n${line}`;
  }
  files.set(file, statements);
  return statements;
}

function nameOf(statement: string): string | undefined {
  return /^(?:export )?(?:declare )?(?:abstract )?(?:async )?(?:function\*?|const|let|class|interface|type|enum) ([\w$]+)/.exec(
    statement,
  )?.[1];
}

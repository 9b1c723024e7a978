import { createHash } from "node:crypto";
import { relative } from "node:path";

// What is said to people (errors' words, reports) is no subject of mutation tests.
const spoken = /^(LayerfoldError|report|warn)$/;

function nameOf({ type, property, name }) {
  return type === "MemberExpression" || type === "OptionalMemberExpression" ? property.name : name;
}

/** A seeded sample of the mutants: each is in by a hash of its place and kind, whatever other files are tested with it. */
class Sample {
  async init() {}

  async check(mutants) {
    // biome-ignore lint/suspicious/noUndeclaredEnvVars: no task of turbo
    const [share, seed] = process.env.MUTATED_SAMPLE.split(",").map(Number);
    return Object.fromEntries(
      mutants.map(({ id, fileName, location: { start, end }, mutatorName, replacement }) => {
        const file = relative(process.cwd(), fileName).replace(/^.*packages/, "packages");
        const place = [start.line, start.column, end.line, end.column];
        const key = JSON.stringify([seed, file, place, mutatorName, replacement]);
        const drawn = createHash("sha256").update(key).digest().readUInt32LE() / 2 ** 32 < share;
        return [id, drawn ? { status: "passed" } : { status: "compileError", reason: "not in the sample" }];
      }),
    );
  }
}

/** Prints what no test noticed as it is found: a run may take long. */
class Missed {
  onMutantTested({ status, fileName, location: { start }, mutatorName, replacement = "" }) {
    if (status === "Killed" || status === "Timeout") process.stdout.write(".");
    if (status !== "Survived" && status !== "NoCoverage") return;
    const words = replacement.replace(/\s+/g, " ").slice(0, 100);
    const place = `${fileName.replace(/.*\/src\//, "")}:${start.line}:${start.column}`;
    console.log(`\n${place} ${mutatorName}${status === "NoCoverage" ? ", not run" : ""}: ${words}`);
  }
}

export const strykerPlugins = [
  {
    kind: "Ignore",
    name: "spoken",
    value: {
      shouldIgnore({ node }) {
        const called = /^(New|Call|OptionalCall)Expression$/.test(node.type);
        if (called && spoken.test(nameOf(node.callee) ?? "")) return "said to people";
      },
    },
  },
  { kind: "Reporter", name: "missed", injectableClass: Missed },
  { kind: "Checker", name: "sample", injectableClass: Sample },
];

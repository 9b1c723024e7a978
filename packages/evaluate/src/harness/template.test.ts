import { describe, expect, it } from "vitest";
import { pythonRandom } from "./python-random.js";
import { pythonRegex, pythonReplacement } from "./python-regex.js";
import { pythonText, type Row, readPythonList } from "./python-text.js";
import { readTemplate } from "./template.js";

const evaluate = (source: string, row: Row) => readTemplate(source, "doc_to_text").evaluate(row, "row 3");

// Values of Jinja2 3.1.6 as lm-evaluation-harness 0.4.13 sets it up.
it.each([
  ["Question: {{goal}}\nAnswer:", { goal: "a" }, "Question: a\nAnswer:"],
  ["a\n", {}, "a\n"],
  ["{{text.split(' ')[:-1]|join(' ')}}", { text: "a b c" }, "a b"],
  ["{{' '+text.split(' ')[-1]}}", { text: "a b c" }, " c"],
  ["{{choices.label.index(answerKey)}}", { choices: { label: ["A", "B"] }, answerKey: "B" }, 1],
  ["{{choices.text}}", { choices: { text: ["it's", 'a "b"'] } }, ["it's", 'a "b"']],
  ["{{[sol1, sol2]}}", { sol1: "x", sol2: "y" }, ["x", "y"]],
  [
    "Options: {{a}}",
    { a: ["it's", 'say "x"', 1, null, true] },
    `Options: ["it's", 'say "x"', 1, None, True]`,
  ],
  ["{% if a %}{{a}}{% else %}no{% endif %}", { a: [] }, "no"],
  ["{% for c in choices %}{{loop.index}}. {{c}}\n{% endfor %}", { choices: ["p", "q"] }, "1. p\n2. q\n"],
  ["{{ text|regex_replace('\\[.*?\\]', '') }}", { text: "a [b] c [d]" }, "a  c "],
  ["{{ name.capitalize() }}", { name: "hELLO World" }, "Hello world"],
  ["{{ name | capitalize }}", { name: "hELLO" }, "Hello"],
  ["{{ ' x '.strip() }}|{{ 'xxay'.lstrip('x') }}", {}, "x|ay"],
  ["{{ a | default('none') }}", {}, "none"],
  ["{{ a if a is defined else b }}", { b: "b" }, "b"],
  ["{{ 'ABCD'[answerKey|int - 1] if answerKey|string in '1234' else answerKey }}", { answerKey: "2" }, "B"],
  [
    "{% set all = namespace(of=[]) %}{% for e in ends %}{% set all.of = all.of + [e | trim] %}{% endfor %}{{ all.of }}",
    { ends: [" a", "b "] },
    ["a", "b"],
  ],
  [
    "{% macro clean(t) %}{{ t.strip() | replace(' [title]', '. ') }}{% endmacro %}{{ [clean(a), clean(b)] }}",
    { a: " x [title]y", b: "z" },
    ["x. y", "z"],
  ],
] as const)("%s", (source, row, expected) => {
  expect(evaluate(source, row)).toEqual(expected);
});

describe("what is wrong is named", () => {
  it.each([
    ["{{question}}", "TASK_ROW_INVALID", '"question"'],
    ["{{choices.text[4]}}", "TASK_ROW_INVALID", "choices.text[4]"],
    ["{% for x in missing %}{% endfor %}", "TASK_ROW_INVALID", '"missing"'],
    ["{{ number | upper }}", "TASK_TEMPLATE_FAILED", "row 3, doc_to_text"],
    ["{{ text.index('z') }}", "TASK_TEMPLATE_FAILED", "row 3"],
  ])("%s", (source, code, message) => {
    const row = { text: "a", number: 3, choices: { text: ["a"] } };
    expect(() => evaluate(source, row)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) }),
    );
  });

  it("a template without an end is broken off", () => {
    const source =
      "{% for a in range(99999) %}{% for b in range(99999) %}{{ a * b }}{% endfor %}{% endfor %}";
    const template = readTemplate(source, "doc_to_text", { timeLimit: 0.2 });
    expect(() => template.evaluate({}, "row 0")).toThrow(
      expect.objectContaining({ code: "TASK_TEMPLATE_SLOW" }),
    );
  });

  it("what is no template", () => {
    expect(() => readTemplate("{% for %}", "doc_to_text")).toThrow(
      expect.objectContaining({ code: "TASK_INVALID" }),
    );
  });
});

it("prints and reads lists as Python does", () => {
  const values = ["a\nb", "it's", "\\", true, null, -3, ["é"]];
  expect(pythonText(values)).toBe(`['a\\nb', "it's", '\\\\', True, None, -3, ['é']]`);
  expect(readPythonList(pythonText(values))).toEqual(values);
  expect(readPythonList("[a]")).toBeUndefined();
});

// random.Random(1234), three draws each of sample(range(n), k), CPython 3.11.
it("draws as Python's random.sample does", () => {
  const drawn = (population: number, count: number) => {
    const random = pythonRandom(1234);
    return Array.from({ length: 3 }, () => random.sample(population, count));
  };
  expect(drawn(20, 5)).toEqual([
    [14, 3, 0, 2, 1],
    [2, 3, 11, 7, 0],
    [0, 19, 11, 15, 14],
  ]);
  expect(drawn(7000, 6)).toEqual([
    [6374, 3610, 957, 61, 742, 6610],
    [4769, 286, 5501, 5677, 687, 806],
    [6279, 2905, 1939, 142, 252, 6461],
  ]);
});

it("reads Python's regular expressions", () => {
  expect("x\n#### 12\n".replace(pythonRegex("(?s).*#### ", "f"), "")).toBe("12\n");
  expect("12.\n".replace(pythonRegex("\\.$", "f"), "")).toBe("12\n");
  expect("$5".replace(pythonRegex("\\$", "f"), "")).toBe("5");
  expect("ab".replace(pythonRegex("(?P<x>a)b", "f"), pythonReplacement("\\g<x>$\\1"))).toBe("a$a");
  expect("a\x1cb\ufeffc".split(pythonRegex("\\s+", "f"))).toEqual(["a", "b\ufeffc"]);
  expect(() => pythonRegex("(?x) a", "f")).toThrow(
    expect.objectContaining({ code: "TASK_FIELD_UNSUPPORTED" }),
  );
  expect(() => pythonRegex("(", "f")).toThrow(expect.objectContaining({ code: "TASK_INVALID" }));
});

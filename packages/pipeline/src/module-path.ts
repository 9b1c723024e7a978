/** Whether a plug-in's name is the path of a module or a task file: `./measure.ts`, `/opt/measure.js`, `measure.mjs`, `task.yaml`. */
export function isModulePath(name: string): boolean {
  return /^[./~]|^[A-Za-z]:\\|\.([cm]?[jt]s|ya?ml)$/.test(name);
}

/** The benchmark or module that `NAME` or `NAME+wrong` names, and whether its wrong answers are read too. The rest of a name may hold a `+`. */
export function taskOf(named: string): { readonly id: string; readonly wrong: boolean } {
  const id = named.replace(/\+wrong$/, "");
  return { id, wrong: id !== named };
}

/**
 * The task and the rest of `NAME:REST` where NAME is the path of a module or a task file, with `+wrong` behind it or not; undefined where it is none. What follows must
 * be more than a number: `code.ts:0.5` is a text with a share.
 */
export function moduleTask(text: string): { readonly task: string; readonly rest: string } | undefined {
  const match = /^(.+?\.(?:[cm]?[jt]s|ya?ml)(?:\+wrong)?):(?!\d*\.?\d+$)(.+)$/s.exec(text);
  return match ? { task: match[1], rest: match[2] } : undefined;
}

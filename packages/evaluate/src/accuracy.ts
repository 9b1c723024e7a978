/** Share of right answers. */
export interface Share {
  /** 0 … 1. */
  readonly accuracy: number;
  /** Standard error of the mean, sqrt(a (1 − a) / (n − 1)) as lm-evaluation-harness has it; 0 for a single question. */
  readonly stderr: number;
  readonly correct: number;
  readonly count: number;
}

export interface Accuracy extends Share {
  readonly bySubject: Readonly<Record<string, Share>>;
}

/** @param right - one entry per question, its subject and whether it was answered rightly; at least one */
export function accuracyOf(
  right: readonly { readonly subject: string; readonly right: boolean }[],
): Accuracy {
  const subjects = new Map<string, boolean[]>();
  for (const answer of right) {
    const list = subjects.get(answer.subject);
    if (list) list.push(answer.right);
    else subjects.set(answer.subject, [answer.right]);
  }
  return {
    ...share(right.map((answer) => answer.right)),
    bySubject: Object.fromEntries([...subjects].map(([subject, list]) => [subject, share(list)])),
  };
}

function share(right: readonly boolean[]): Share {
  const count = right.length;
  const correct = right.filter(Boolean).length;
  const accuracy = correct / count;
  const stderr = count > 1 ? Math.sqrt((accuracy * (1 - accuracy)) / (count - 1)) : 0;
  return { accuracy, stderr, correct, count };
}

import type { Notes } from "@layerfold/tasks";
import type { Bucket } from "./bucket.js";

/** Notes as small objects. */
export function bucketNotes(bucket: Bucket): Notes {
  return {
    read: async (name) => (await bucket.read(name))?.text,
    write: async (name, text) => {
      await bucket.write(name, text);
    },
    remove: (name) => bucket.remove(name),
    async list(folder) {
      const names: string[] = [];
      for await (const { key } of bucket.list(`${folder}/`)) names.push(key.slice(folder.length + 1));
      return names.sort();
    },
  };
}

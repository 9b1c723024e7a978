import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { folderStore } from "@layerfold/tasks";
import { expect, it } from "vitest";
import { refusalOfStore } from "./accepted-store.js";

it("accepts stores that it was told of, else standing ones of its own user", async () => {
  const root = await mkdtemp(join(tmpdir(), "layerfold-accepted-"));
  try {
    const store = join(root, "store");
    const other = join(root, "link");
    await folderStore(store);
    await symlink(store, other);
    expect(await refusalOfStore(store, undefined)).toBeUndefined();
    expect(await refusalOfStore(root, undefined)).toContain("no store stands");
    expect(await refusalOfStore("store", undefined)).toContain("no path");
    expect(await refusalOfStore("s3://bucket/prefix", undefined)).toContain("must be told");
    expect(await refusalOfStore("s3://bucket/prefix", ["s3://bucket/prefix"])).toBeUndefined();
    expect(await refusalOfStore(other, [store])).toBeUndefined();
    expect(await refusalOfStore(store, [root])).toContain("was not told");
  } finally {
    await rm(root, { recursive: true });
  }
});

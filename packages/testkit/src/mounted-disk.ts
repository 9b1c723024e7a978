import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * A small disk of its own in memory; undefined where the system lets none be mounted (only root may, on Linux).
 * @param options - for mount: `size=1m`, `ro`
 */
export function mountedDisk(options: string): { readonly folder: string; unmount(): void } | undefined {
  const folder = mkdtempSync(join(tmpdir(), "layerfold-disk-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", folder], { stdio: "ignore" });
  } catch {
    rmSync(folder, { recursive: true });
    console.warn(`no disk of ${options} can be mounted here: its test is skipped`);
    return undefined;
  }
  return {
    folder,
    unmount() {
      execFileSync("umount", [folder]);
      rmSync(folder, { recursive: true });
    },
  };
}

/**
 * A disk of 128 MiB of its own whose files can share their bytes (btrfs, in a file); undefined where none can be made: without btrfs-progs, or
 * the right to mount.
 */
export function mountedCloningDisk(): ReturnType<typeof mountedDisk> {
  const scratch = mkdtempSync(join(tmpdir(), "layerfold-btrfs-"));
  const [image, folder] = [join(scratch, "image"), mkdtempSync(join(scratch, "mounted-"))];
  const remove = () => rmSync(scratch, { recursive: true });
  try {
    writeFileSync(image, "");
    truncateSync(image, 2 ** 27);
    execFileSync("mkfs.btrfs", ["-q", image], { stdio: "ignore" });
    execFileSync("mount", ["-o", "loop", image, folder], { stdio: "ignore" });
  } catch {
    remove();
    console.warn("no disk of btrfs can be mounted here: its test is skipped");
    return undefined;
  }
  return {
    folder,
    unmount() {
      execFileSync("umount", [folder]);
      remove();
    },
  };
}

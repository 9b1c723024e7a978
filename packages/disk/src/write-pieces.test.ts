import { mkdtemp, open, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { mountedDisk } from "@layerfold/testkit";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { writeWholeFile } from "./write-file.js";
import { type Piece, pieceBytes, writePieces } from "./write-pieces.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "write-pieces-"));
});
afterEach(() => rm(folder, { recursive: true }));

async function* each(pieces: Iterable<Piece | Uint8Array>) {
  yield* pieces;
}

const filled = (length: number, value: number, delay = 0): Piece => ({
  length,
  async fill(target) {
    if (delay > 0) await setTimeout(delay);
    target.fill(value);
  },
});

async function write(pieces: Iterable<Piece | Uint8Array>, signal?: AbortSignal): Promise<Buffer> {
  const file = join(folder, "file");
  await writeWholeFile(file, (handle) => writePieces(handle, each(pieces), signal));
  return readFile(file);
}

describe("writePieces", () => {
  it("puts pieces one behind the other, whichever is done first", async () => {
    const piece = fc.record({
      length: fc.integer({ min: 0, max: 50 }),
      value: fc.integer({ min: 0, max: 255 }),
      delay: fc.integer({ min: 0, max: 3 }),
      alone: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 20 }), async (drawn) => {
        const got = await write(
          drawn.map(({ length, value, delay, alone }) =>
            alone ? new Uint8Array(length).fill(value) : filled(length, value, delay),
          ),
        );
        expect(got).toEqual(Buffer.concat(drawn.map(({ length, value }) => Buffer.alloc(length, value))));
      }),
      { numRuns: 30 },
    );
  });

  it("writes pieces of the largest size, and bytes larger than that", async () => {
    const large = new Uint8Array(2 * pieceBytes + 3).fill(7);
    const got = await write([
      filled(pieceBytes, 1),
      large,
      ...[2, 3, 4, 5, 6].map((i) => filled(pieceBytes, i)),
    ]);
    const wanted = [
      Buffer.alloc(pieceBytes, 1),
      large,
      ...[2, 3, 4, 5, 6].map((i) => Buffer.alloc(pieceBytes, i)),
    ];
    expect(got.equals(Buffer.concat(wanted))).toBe(true);
  });

  it("makes four at a time, and nothing beside bytes that are whole", async () => {
    let [running, most] = [0, 0];
    const counted: Piece = {
      length: 1,
      async fill() {
        most = Math.max(most, ++running);
        await setTimeout(2);
        running--;
      },
    };
    await write(new Array(12).fill(counted));
    expect(most).toBe(4);
    const seen: number[] = [];
    function* pieces() {
      for (let i = 0; i < 3; i++) {
        yield counted;
        yield new Uint8Array(1);
        seen.push(running);
      }
    }
    await write(pieces());
    expect(seen).toEqual([0, 0, 0]);
  });

  it("throws the foremost piece's error when all is at rest, and leaves no file", async () => {
    for (const [first, second] of [
      [8, 0],
      [0, 8],
    ]) {
      let running = 0;
      const failing = (delay: number, message: string): Piece => ({
        length: 1,
        async fill() {
          running++;
          await setTimeout(delay);
          running--;
          throw new RangeError(message);
        },
      });
      const slow = { ...filled(1, 0), fill: () => setTimeout(12) };
      function* pieces() {
        yield slow;
        yield failing(first, "first");
        yield failing(second, "second");
        throw new RangeError("third");
      }
      await expect(write(pieces())).rejects.toThrow("first");
      expect(running).toBe(0);
      expect(await readdir(folder)).toEqual([]);
    }
  });

  it("stops when it is told to", async () => {
    const interruption = new AbortController();
    let made = 0;
    const piece: Piece = {
      length: 1,
      fill() {
        if (++made === 6) interruption.abort();
      },
    };
    await expect(write(new Array(100).fill(piece), interruption.signal)).rejects.toMatchObject({
      code: "INTERRUPTED",
    });
    expect(made).toBeLessThan(12);
    expect(await readdir(folder)).toEqual([]);
  });

  it("says that the disk is full, and leaves nothing", async (context) => {
    const disk = mountedDisk("size=1536k");
    if (!disk) return context.skip();
    try {
      const full = writeWholeFile(join(disk.folder, "file"), (handle) =>
        writePieces(handle, each(new Array(4).fill(filled(pieceBytes, 1)))),
      );
      await expect(full).rejects.toMatchObject({ code: "DISK_FULL" });
      expect(await readdir(disk.folder)).toEqual([]);
    } finally {
      disk.unmount();
    }
  });

  it("writes large files to the end, though the disk is told to write early", async () => {
    const count = 140;
    const file = join(folder, "large");
    const handle = await open(file, "w+");
    await writePieces(handle, each(Array.from({ length: count }, (_, i) => filled(pieceBytes, i))));
    const last = new Uint8Array(1);
    for (let i = 0; i < count; i++) {
      await handle.read(last, 0, 1, (i + 1) * pieceBytes - 1);
      expect(last[0]).toBe(i);
    }
    expect((await handle.stat()).size).toBe(count * pieceBytes);
    await handle.close();
  });
});

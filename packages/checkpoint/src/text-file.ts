import { constants } from "node:buffer";
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { LayerfoldError, type RunContext } from "@layerfold/core";
import { fileError, requireRegularFile } from "@layerfold/disk";

export interface TextFileOptions {
  /** Hears what was not taken as it stood: line ends, a byte order mark, UTF-16. */
  readonly report?: RunContext["report"];
  /** Most bytes of the text, unpacked; default: as many as a string can have characters (about 512 MiB). */
  readonly maxBytes?: number;
}

/**
 * Reads a file that people make: UTF-8, or UTF-16 that is marked or plain to see, through gzip if it is packed. A byte order mark is
 * dropped and CRLF becomes LF; both are reported. What is not text is refused and never guessed at.
 *
 * @throws FILE_MISSING, FILE_DENIED, FILE_ERROR, FILE_NOT_REGULAR; FILE_NOT_TEXT naming the format, TEXT_ENCODING naming the byte, GZIP_INVALID,
 * TEXT_TOO_LARGE
 */
export async function readTextFile(file: string, options: TextFileOptions = {}): Promise<string> {
  const { report, maxBytes = constants.MAX_STRING_LENGTH } = options;
  let bytes: Buffer;
  try {
    if ((await requireRegularFile(file)).size > maxBytes) throw tooLarge(maxBytes, file);
    bytes = await readFile(file);
  } catch (error) {
    throw fileError(error, file);
  }
  if (startsWith(bytes, gzipMagic)) bytes = await unpack(bytes, maxBytes, file);
  const { text, notes } = decode(bytes, file);
  const lines = text.split("\r\n");
  if (lines.length > 1) notes.push(`${lines.length - 1} line ends CRLF read as LF`);
  if (notes.length > 0) {
    report?.({
      type: "diagnostic",
      severity: "info",
      code: "TEXT_NORMALIZED",
      message: `${file}: ${notes.join(", ")}`,
    });
  }
  return lines.length > 1 ? lines.join("\n") : text;
}

/** What a text file holds by its name, in small letters: `.jsonl` of `a.JSONL` and of `a.jsonl.gz`. */
export function textExtension(file: string): string {
  const name = file.toLowerCase();
  return extname(name.endsWith(".gz") ? name.slice(0, -3) : name);
}

const gzipMagic = [0x1f, 0x8b];

const ascii = (text: string) => Array.from(text, (c) => c.charCodeAt(0));

/** Bytes of what is often given in a text's place, first ones or at `offset`; each long or odd enough that no text has them there. */
const formats: readonly (readonly [name: string, magic: readonly number[], offset?: number])[] = [
  ["gzip within gzip", gzipMagic],
  ["Parquet", ascii("PAR1")],
  ["Arrow", ascii("ARROW1")],
  ["a zip archive (also .docx, .xlsx, .npz, .pt)", [...ascii("PK"), 3, 4]],
  ["PDF", ascii("%PDF-")],
  ["Zstandard", [0x28, 0xb5, 0x2f, 0xfd]],
  ["xz", [0xfd, ...ascii("7zXZ"), 0]],
  ["bzip2", [...ascii("BZh9"), ...ascii("1AY&SY")]],
  ["LZ4", [0x04, 0x22, 0x4d, 0x18]],
  ["7-Zip", [...ascii("7z"), 0xbc, 0xaf, 0x27, 0x1c]],
  ["GGUF", [...ascii("GGUF"), 2, 0]],
  ["GGUF", [...ascii("GGUF"), 3, 0]],
  ["safetensors", [0, 0, 0, 0, ...ascii('{"')], 4],
  ["HDF5", [0x89, ...ascii("HDF"), 13, 10, 26, 10]],
  ["NumPy", [0x93, ...ascii("NUMPY")]],
  ["SQLite", ascii("SQLite format 3\0")],
  ["Avro", [...ascii("Obj"), 1]],
  ["a tar archive", ascii("ustar"), 257],
  ["an old Office document", [0xd0, 0xcf, 0x11, 0xe0]],
  ["RTF", ascii("{\\rtf1")],
  ["PNG", [0x89, ...ascii("PNG")]],
  ["JPEG", [0xff, 0xd8, 0xff]],
  ["UTF-32 text", [0xff, 0xfe, 0, 0]],
  ["UTF-32 text", [0, 0, 0xfe, 0xff]],
];

/** Marks and their encodings. */
const marks = [
  ["utf-8", [0xef, 0xbb, 0xbf]],
  ["utf-16le", [0xff, 0xfe]],
  ["utf-16be", [0xfe, 0xff]],
] as const;

function decode(bytes: Buffer, file: string): { text: string; notes: string[] } {
  const format = formats.find(([, magic, offset]) => startsWith(bytes.subarray(offset), magic));
  if (format) throw notText(format[0], file);
  const marked = marks.find(([, mark]) => startsWith(bytes, mark));
  const encoding = marked?.[0] ?? unmarkedEncoding(bytes);
  const start = marked?.[1].length ?? 0;
  const body = bytes.subarray(start);
  const notes = [
    ...(encoding === "utf-8" ? [] : [`read as ${encoding.toUpperCase()}`]),
    ...(marked ? ["byte order mark dropped"] : []),
  ];
  if (encoding === "utf-8") {
    const zero = body.indexOf(0);
    if (zero >= 0) throw notText("binary data", `${file}, byte ${start + zero}`);
    return { text: decodeUtf8(body, start, file), notes };
  }
  const text = decodeUtf16(body, encoding, start, file);
  // Where we had to guess, nothing may speak against it.
  const control = marked ? text.indexOf("\0") : text.search(/[^\P{Cc}\s]/u);
  if (control >= 0) throw notText("binary data", `${file}, byte ${start + 2 * control}`);
  return { text, notes };
}

/** Text of Latin letters, digits and spaces has a zero in every other byte of UTF-16; no other text has zeros. */
function unmarkedEncoding(bytes: Buffer): "utf-8" | "utf-16le" | "utf-16be" {
  const units = Math.min(2048, bytes.length >> 1);
  let even = 0;
  let odd = 0;
  for (let i = 0; i < units; i++) {
    if (bytes[2 * i] === 0) even++;
    if (bytes[2 * i + 1] === 0) odd++;
  }
  if (units < 2 || bytes.length % 2 !== 0) return "utf-8";
  if (odd > 0.4 * units && even === 0) return "utf-16le";
  if (even > 0.4 * units && odd === 0) return "utf-16be";
  return "utf-8";
}

function decodeUtf8(bytes: Buffer, start: number, file: string): string {
  const text = bytes.toString("utf8");
  // What cannot be decoded becomes U+FFFD, which a text may also hold in its own right.
  let offset = 0;
  let from = 0;
  for (let at = text.indexOf("\ufffd"); at >= 0; at = text.indexOf("\ufffd", from)) {
    offset += Buffer.byteLength(text.slice(from, at));
    if (!startsWith(bytes.subarray(offset), [0xef, 0xbf, 0xbd])) {
      throw new LayerfoldError("TEXT_ENCODING", "the text is not UTF-8", {
        wanted: "UTF-8 (of Latin-1: iconv -f WINDOWS-1252 -t UTF-8 FILE)",
        got: `0x${bytes[offset].toString(16).padStart(2, "0")}`,
        where: `${file}, byte ${start + offset}`,
      });
    }
    offset += 3;
    from = at + 1;
  }
  return text;
}

function decodeUtf16(bytes: Buffer, encoding: "utf-16le" | "utf-16be", start: number, file: string): string {
  const invalid = (got: string, offset: number) =>
    new LayerfoldError("TEXT_ENCODING", `the text is not ${encoding.toUpperCase()}`, {
      got,
      where: `${file}, byte ${start + offset}`,
    });
  if (bytes.length % 2 !== 0) throw invalid("half a character at the end", bytes.length - 1);
  const text = (encoding === "utf-16le" ? bytes : Buffer.from(bytes).swap16()).toString("utf16le");
  const lone = text.search(/\p{Surrogate}/u);
  if (lone >= 0) throw invalid("half a surrogate pair", 2 * lone);
  return text;
}

async function unpack(bytes: Buffer, maxBytes: number, file: string): Promise<Buffer> {
  try {
    return await promisify(gunzip)(bytes, { maxOutputLength: maxBytes });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") throw tooLarge(maxBytes, file);
    throw new LayerfoldError("GZIP_INVALID", "cannot unpack the file", {
      got: (cause as Error).message,
      where: file,
      cause,
    });
  }
}

function startsWith(bytes: Uint8Array, magic: readonly number[]): boolean {
  return magic.every((byte, i) => bytes[i] === byte);
}

function notText(got: string, where: string): LayerfoldError {
  return new LayerfoldError("FILE_NOT_TEXT", "the file is not text", {
    wanted: "UTF-8 or UTF-16, plain or gzipped",
    got,
    where,
  });
}

function tooLarge(maxBytes: number, file: string): LayerfoldError {
  return new LayerfoldError("TEXT_TOO_LARGE", "the text is too large to be read at once", {
    wanted: `at most ${maxBytes} bytes, unpacked`,
    where: file,
  });
}

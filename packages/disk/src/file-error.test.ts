import { stat } from "node:fs/promises";
import { constants } from "node:os";
import { LayerfoldError } from "@layerfold/core";
import { describe, expect, it } from "vitest";
import { fileError, isFileError } from "./file-error.js";

/** As libuv's errors look that Node's file functions throw. */
function systemError(code: string): NodeJS.ErrnoException {
  const errno = -(constants.errno as Record<string, number>)[code];
  return Object.assign(new Error(`${code}: said the system, open 'x'`), { code, errno, syscall: "open" });
}

describe("fileError", () => {
  it.each([
    ["ENOENT", "FILE_MISSING", "input"],
    ["EACCES", "FILE_DENIED", "environment"],
    ["EROFS", "DISK_READ_ONLY", "environment"],
    ["ENOSPC", "DISK_FULL", "environment"],
    ["EDQUOT", "DISK_FULL", "environment"],
    ["EFBIG", "FILE_TOO_LARGE", "environment"],
    ["EIO", "DISK_FAULT", "environment"],
    ["EISDIR", "FILE_IS_FOLDER", "input"],
    ["ENOTDIR", "FILE_NOT_FOLDER", "input"],
    ["EBUSY", "FILE_BUSY", "environment"],
    ["EXDEV", "FILE_OTHER_DISK", "environment"],
    ["EMFILE", "FILES_TOO_MANY", "environment"],
    ["ENAMETOOLONG", "FILE_NAME_LONG", "input"],
    ["ELOOP", "FILE_LINK_LOOP", "input"],
    ["ENODEV", "FILE_ERROR", "environment"],
  ])("%s is %s", (system, code, fault) => {
    expect(fileError(systemError(system), "a/file")).toMatchObject({ code, fault, where: "a/file" });
  });

  it("names a path that Node refuses for a byte 0 in it", async () => {
    const error = await stat("a\0b").catch((error) => error);
    expect(fileError(error, "a\0b")).toMatchObject({ code: "FILE_NAME_INVALID", where: "a\\u0000b" });
  });

  it("passes what is no error of the file system", () => {
    const others = [new TypeError("x"), new LayerfoldError("TENSOR_BYTES", "x"), "text", undefined];
    for (const error of [...others, Object.assign(new Error("x"), { code: "ERR_INVALID_ARG_TYPE" })]) {
      expect(fileError(error, "a/file")).toBe(error);
      expect(isFileError(error)).toBe(false);
    }
  });
});

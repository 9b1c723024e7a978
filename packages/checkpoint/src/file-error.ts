import { LayerfoldError } from "@layerfold/core";

/**
 * What the file system said, as a coded error: FILE_MISSING, FILE_DENIED, DISK_FULL or FILE_ERROR.
 * A LayerfoldError passes unchanged.
 */
export function fileError(error: unknown, where: string): LayerfoldError {
  if (error instanceof LayerfoldError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case "ENOENT":
      return new LayerfoldError("FILE_MISSING", "no such file or folder", { where, cause: error });
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new LayerfoldError("FILE_DENIED", "access denied", {
        where,
        fault: "environment",
        cause: error,
      });
    case "ENOSPC":
    case "EDQUOT":
      return new LayerfoldError("DISK_FULL", "no space left", { where, fault: "environment", cause: error });
    default:
      return new LayerfoldError("FILE_ERROR", message, { where, fault: "environment", cause: error });
  }
}

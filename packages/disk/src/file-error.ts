import { LayerfoldError } from "@layerfold/core";

/** What the file system's codes say, and whether the caller's arguments can mend it or the machine must. */
const meanings: Readonly<Record<string, readonly [code: string, message: string, fault?: "environment"]>> = {
  ENOENT: ["FILE_MISSING", "no such file or folder"],
  EACCES: ["FILE_DENIED", "access denied", "environment"],
  EPERM: ["FILE_DENIED", "access denied", "environment"],
  EROFS: ["DISK_READ_ONLY", "the disk can only be read", "environment"],
  ENOSPC: ["DISK_FULL", "no space left", "environment"],
  EDQUOT: ["DISK_FULL", "the quota of disk space is used up", "environment"],
  EFBIG: ["FILE_TOO_LARGE", "the file is larger than the disk or the limit allows", "environment"],
  ERR_FS_FILE_TOO_LARGE: ["FILE_TOO_LARGE", "the file is too large to be read at once"],
  EIO: ["DISK_FAULT", "the disk reports a fault", "environment"],
  EISDIR: ["FILE_IS_FOLDER", "a folder stands where a file is wanted"],
  ENOTDIR: ["FILE_NOT_FOLDER", "a file stands where a folder is wanted"],
  EEXIST: ["FILE_EXISTS", "something stands there already"],
  ENOTEMPTY: ["FILE_EXISTS", "the folder is not empty"],
  EBUSY: ["FILE_BUSY", "in use by the system or another program", "environment"],
  ETXTBSY: ["FILE_BUSY", "in use by the system or another program", "environment"],
  EXDEV: ["FILE_OTHER_DISK", "a file cannot be moved to another disk", "environment"],
  EMFILE: ["FILES_TOO_MANY", "too many open files", "environment"],
  ENFILE: ["FILES_TOO_MANY", "too many open files", "environment"],
  ENAMETOOLONG: ["FILE_NAME_LONG", "the name is too long"],
  ELOOP: ["FILE_LINK_LOOP", "symbolic links lead in a circle"],
};

/** Whether the operating system or Node's file functions reported it. */
export function isFileError(error: unknown): error is NodeJS.ErrnoException {
  if (!(error instanceof Error)) return false;
  const { code, errno, syscall } = error as NodeJS.ErrnoException;
  if (typeof code !== "string") return false;
  return code in meanings || (errno !== undefined && syscall !== undefined) || saysNull(error);
}

/** Node itself refuses a path with a byte 0, before it asks the system. */
function saysNull(error: NodeJS.ErrnoException): boolean {
  return error.code === "ERR_INVALID_ARG_VALUE" && error.message.includes("without null bytes");
}

/**
 * What the file system said, as a coded error that names the path: FILE_MISSING, FILE_DENIED, DISK_FULL, DISK_READ_ONLY, DISK_FAULT,
 * FILE_IS_FOLDER, FILE_NOT_FOLDER, FILE_EXISTS, FILE_BUSY, FILE_OTHER_DISK, FILE_TOO_LARGE, FILES_TOO_MANY, FILE_NAME_LONG,
 * FILE_LINK_LOOP, FILE_NAME_INVALID, or FILE_ERROR for any other. What is no error of the file system passes unchanged.
 */
export function fileError(error: unknown, where: string): unknown {
  if (!isFileError(error)) return error;
  if (saysNull(error))
    return new LayerfoldError("FILE_NAME_INVALID", "a name with a byte 0 in it", { where, cause: error });
  const [code, message, fault] = meanings[error.code!] ?? ["FILE_ERROR", error.message, "environment"];
  return new LayerfoldError(code, message, { where, ...(fault && { fault }), cause: error });
}

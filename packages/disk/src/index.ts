export { fileError, isFileError } from "./file-error.js";
export { fileSha256 } from "./file-sha256.js";
export { filesIn } from "./files-in.js";
export { type FloatSpill, type FloatSpillOptions, openFloatSpill, streamMemory } from "./float-spill.js";
export { checkFreeSpace, nearestFolder } from "./free-space.js";
export { addMadeFile, foreignFiles, madeFilesName, refuseForeignFiles } from "./made-files.js";
export {
  checkOutputFolder,
  checkWritable,
  type OutputRules,
  putFolder,
  refuseInputs,
  writeFolder,
} from "./output-folder.js";
export { isRunning, startOf } from "./process.js";
export { readFully } from "./read-fully.js";
export { isWithin, makeFolder, realPath } from "./real-path.js";
export { requireRegularFile } from "./regular-file.js";
export { errorOfPath, isTemporaryName, scratchFolder, sweepLeftovers, temporaryBeside } from "./temporary.js";
export {
  cloneWholeFile,
  type FileContent,
  syncFile,
  syncFolder,
  syncTree,
  writeWholeFile,
} from "./write-file.js";
export { type Piece, pieceBytes, writePieces } from "./write-pieces.js";

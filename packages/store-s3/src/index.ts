export { localFolder } from "./location.js";
export { openS3Store, removeS3Store } from "./opened-s3-store.js";
export { type S3StoreOptions, s3Store } from "./s3-store.js";

export { localFolder } from "./location.js";
export { existingS3Store, openS3Store, removeS3Store } from "./opened-s3-store.js";
export { type S3StoreOptions, s3Store } from "./s3-store.js";

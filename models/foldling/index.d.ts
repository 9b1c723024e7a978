/** Folder of the model. */
export declare const checkpoint: string;
/** Folder of its texts and questions. */
export declare const data: string;

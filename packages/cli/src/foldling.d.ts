/** Where the embedded model lies. */
export declare function foldling(): {
  readonly checkpoint: string;
  readonly data: string;
};

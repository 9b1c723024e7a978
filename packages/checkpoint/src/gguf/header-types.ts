/** Types of a GGUF file's metadata by name (ggml's docs/gguf.md): those that we write, and the list, whose elements have one of the others. */
export const entryTypes = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, list: 9 } as const;

/** Where tensors begin, in a file that does not say: at multiples of so many bytes from the start of the data. */
export const defaultAlignment = 32;

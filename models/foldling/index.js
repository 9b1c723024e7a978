import { fileURLToPath } from "node:url";

export const checkpoint = fileURLToPath(new URL("checkpoint", import.meta.url));
export const data = fileURLToPath(new URL("data", import.meta.url));

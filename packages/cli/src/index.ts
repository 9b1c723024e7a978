export { main } from "./main.js";
export type { ResultRow } from "./results.js";

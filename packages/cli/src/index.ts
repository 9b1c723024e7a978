export * from "@layerfold/pipeline";
export { main } from "./main.js";

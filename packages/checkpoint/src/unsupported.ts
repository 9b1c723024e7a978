import { LayerfoldError } from "@layerfold/core";
import type { ConfigReader } from "./config-reader.js";

/** @throws CONFIG_UNSUPPORTED where a config switches something on that is not built */
export function refuseIf(c: ConfigReader, field: string): void {
  if (c.boolean(field, false)) {
    throw new LayerfoldError("CONFIG_UNSUPPORTED", `models with ${field} are not supported`, {
      where: `config.json, ${field}`,
    });
  }
}

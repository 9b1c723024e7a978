#!/usr/bin/env node
import { endWithReader } from "../dist/broken-pipe.js";
import { listenForInterruption } from "../dist/interruption.js";

endWithReader();
const listening = listenForInterruption();
// Takes most of the start, in which the listener is made beside it.
const { main } = await import("../dist/main.js");
process.exitCode = await main(process.argv.slice(2), await listening);

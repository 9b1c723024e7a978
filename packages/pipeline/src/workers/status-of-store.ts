import { type StoreStatus, storeStatus } from "@layerfold/tasks";
import { existingStoreAt } from "./open-store.js";

/**
 * What is done, running, failed and missing in a store, by one look at its lists: nothing in it is read through or changed.
 * @throws FILE_MISSING; STORE_FOREIGN where there is none; STORE_OTHER_VERSION; STAGE_INVALID
 */
export async function statusOfStore(location: string): Promise<StoreStatus> {
  return storeStatus(await existingStoreAt(location));
}

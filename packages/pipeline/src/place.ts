import { LayerfoldError } from "@layerfold/core";
import { type DeviceOptions, deviceName, devices } from "@layerfold/onnx";
import { jsonDigest } from "@layerfold/tasks";

/** Where models are to run, as it was said; empty where nothing was. @throws OPTION_INVALID */
export function placeOf({ device, allowFallback }: DeviceOptions): DeviceOptions {
  if (device !== undefined && !devices.includes(device)) {
    throw new LayerfoldError("OPTION_INVALID", "no such device", {
      wanted: devices.join(", "),
      got: `${device}`,
      where: "device",
    });
  }
  return { ...(device !== undefined && { device }), ...(allowFallback && { allowFallback }) };
}

/**
 * Digest of a model that runs in a place: what is found out on one device is not served as another's, nor as that of other kernels. On the CPU
 * it is the model's own.
 */
export function placedDigest(fingerprint: string, place: DeviceOptions): string {
  const name = deviceName(place);
  return name === undefined ? fingerprint : jsonDigest([fingerprint, name]);
}

import { existsSync } from "node:fs";

/** Where distributions put SwiftShader, a Vulkan driver in software. */
const drivers = [
  "/usr/lib/chromium/vk_swiftshader_icd.json",
  "/usr/lib64/chromium-browser/vk_swiftshader_icd.json",
  "/usr/lib/chromium-browser/vk_swiftshader_icd.json",
];

/**
 * Lets WebGPU find a device in software, in this process and its children; to be called before anything asks for a GPU.
 * @returns whether there is one; where not, it says so
 */
export function softwareGpu(): boolean {
  const driver = drivers.find((path) => existsSync(path));
  if (driver === undefined) {
    console.warn("no SwiftShader here (Debian: chromium-common and libvulkan1): tests of WebGPU are skipped");
    return false;
  }
  // Both names, of older and newer Vulkan loaders.
  process.env.VK_ICD_FILENAMES = driver;
  process.env.VK_DRIVER_FILES = driver;
  return true;
}

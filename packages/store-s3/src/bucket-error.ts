import { LayerfoldError } from "@layerfold/core";

/** What the SDK throws: a service's answer, or an error of the connection. */
interface SdkError {
  readonly name?: string;
  readonly code?: string;
  readonly message?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly errors?: readonly SdkError[];
}

const missing = ["NoSuchBucket"];
const denied = [
  ...["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"],
  ...["AllAccessDisabled", "RequestTimeTooSkewed", "CredentialsProviderError", "TokenProviderError"],
];
const region = ["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"];
const full = ["QuotaExceeded", "XMinioStorageFull", "EntityTooLarge", "InsufficientStorage"];
const connection =
  /^(E(CONN|HOST|NET|PIPE|TIMEDOUT|NOTFOUND|AI_AGAIN|PROTO)|CERT_|ERR_TLS|UNABLE_TO|DEPTH_ZERO|SELF_SIGNED)/;

/**
 * What a bucket's server said, or that it said nothing, as a coded error of one line: BUCKET_MISSING, BUCKET_DENIED, BUCKET_REGION, BUCKET_FULL,
 * BUCKET_UNREACHABLE, or BUCKET_FAILED for any other. No part of it holds credentials. What is no error of the SDK passes unchanged.
 */
export function bucketError(error: unknown, where: string): unknown {
  if (error instanceof LayerfoldError || !(error instanceof Error)) return error;
  const { name = "", message = "", code, $metadata, errors } = error as SdkError;
  const status = $metadata?.httpStatusCode;
  const codes = [code, ...(errors ?? []).map((one) => one.code)].filter((one) => one !== undefined);
  const as = (coded: string, reason: string, wanted?: string) =>
    new LayerfoldError(coded, reason, { where, fault: "environment", cause: error, wanted, got: said() });
  const said = () => {
    const text = [status, name === "Error" ? codes[0] : name, firstLine(message)];
    return [...new Set(text)].filter(Boolean).join(" ");
  };
  if (missing.includes(name)) return as("BUCKET_MISSING", "no such bucket");
  if (region.includes(name) || status === 301 || message === "Region is missing") {
    return as(
      "BUCKET_REGION",
      "the bucket's region is not the one that is set",
      "AWS_REGION, or the profile's",
    );
  }
  if (denied.includes(name) || status === 401 || status === 403) {
    const wanted =
      "credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, that may read and write there";
    return as("BUCKET_DENIED", "access to the bucket denied", wanted);
  }
  if (full.includes(name) || status === 507) return as("BUCKET_FULL", "the bucket takes no more");
  if (
    codes.some((one) => connection.test(one)) ||
    name === "TimeoutError" ||
    name === "NetworkingError" ||
    (status !== undefined && (status >= 500 || status === 429))
  ) {
    return as("BUCKET_UNREACHABLE", "the bucket's server does not answer as it should, after several tries");
  }
  if (status === undefined && !codes.some((one) => one.startsWith("ERR_"))) return error;
  return as("BUCKET_FAILED", "the bucket's server refused");
}

/** Whether a condition was not met, or another write was quicker. */
export function isConflict(error: unknown): boolean {
  const { name, $metadata } = error as SdkError;
  return (
    $metadata?.httpStatusCode === 412 ||
    ($metadata?.httpStatusCode === 409 && name !== "BucketAlreadyExists" && name !== "OperationAborted") ||
    name === "PreconditionFailed"
  );
}

/** Whether there is no such object; the bucket itself is another matter. */
export function isAbsent(error: unknown): boolean {
  const { name, $metadata } = error as SdkError;
  return (
    name !== "NoSuchBucket" &&
    (name === "NoSuchKey" || name === "NotFound" || $metadata?.httpStatusCode === 404)
  );
}

function firstLine(message: string): string {
  // An address may carry a name and a password.
  return message
    .split("\n")[0]
    .replace(/\/\/[^/@\s]*@/g, "//")
    .slice(0, 200);
}

/** The conformance suites over this folder's checks, for `postern conformance`. */
import type { Suite } from "../telemetry/suite.ts";
import { arcSignSuite, arcValidateSuite } from "./conformance/arc.ts";
import { authresSuite } from "./conformance/authres.ts";
import { dkimSuite } from "./conformance/dkim.ts";
import { dmarcSuite } from "./conformance/dmarc.ts";
import { geoipSuite } from "./conformance/geoip.ts";
import { pslSuite } from "./conformance/psl.ts";
import { spfSuite } from "./conformance/spf.ts";

export const suites: Suite[] = [
  spfSuite,
  dkimSuite,
  arcValidateSuite,
  arcSignSuite,
  dmarcSuite,
  authresSuite,
  pslSuite,
  geoipSuite,
];

/** What `postern test` needs of the .svtest runner. */
import { runSvtest } from "./run.ts";

export { runSvtest, type SvtestCase, type SvtestOptions, type SvtestReport, suiteRegistry } from "./run.ts";

export const svtestRunner = {
  /** Files that this runner takes. */
  accepts: (path: string): boolean => path.endsWith(".svtest"),
  run: runSvtest,
};

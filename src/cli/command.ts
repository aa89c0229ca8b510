/**
 * One `postern` command: arguments in, exit code out. Commands write through `io` so that tests can read them.
 * Exit codes: 0 done, 1 the answer is "no" (errors found, a test failed, nothing matched), 2 wrong usage.
 */
export interface CommandIo {
  out(text: string): void;
  err(text: string): void;
  cwd: string;
}

export interface Command {
  name: string;
  /** One line for `postern --help`. */
  summary: string;
  /** Whole text for `postern <name> --help`. */
  help: string;
  run(argv: string[], io: CommandIo): Promise<number>;
}

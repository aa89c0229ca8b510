/**
 * Reads postern.yaml: YAML → schema → absolute paths. Answers the whole configuration or diagnostics with
 * `file:line:col`, what is wrong, and what to write instead; never half of one.
 * Failure: an unreadable file is a diagnostic too (C001). Limits: 1 MiB, 100 aliases (YAML bombs).
 */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type Document, isMap, isNode, LineCounter, parseDocument } from "yaml";
import type { z } from "zod";
import type { Diagnostic } from "../language/diagnostic.ts";
import { nearest } from "../language/nearest.ts";
import type { Span } from "../language/span.ts";
import { type Budget, budgetWith } from "./budget.ts";
import { type Config, configSchema } from "./schema.ts";

const maxConfigBytes = 1024 * 1024;

export interface LoadedConfig {
  config: Config;
  budget: Budget;
  file: string;
  /** Folder that relative paths of the configuration start from. */
  directory: string;
}

export type LoadResult =
  | { ok: true; loaded: LoadedConfig }
  | { ok: false; diagnostics: Diagnostic[]; source: string | undefined };

/** Loads and checks a configuration file; `file` may be relative to the working directory. */
export function loadConfig(file: string): LoadResult {
  let source: string;
  try {
    source = readFileSync(file, "utf8");
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code === "ENOENT" ? "there is no such file" : String(error);
    return {
      ok: false,
      source: undefined,
      diagnostics: [
        {
          severity: "error",
          code: "C001",
          message: `cannot read the configuration: ${reason}`,
          hint: "give another file with --config, or run `npm start` once to have one written",
          span: { file, start: { offset: 0, line: 1, column: 1 }, end: { offset: 0, line: 1, column: 1 } },
        },
      ],
    };
  }
  return parseConfig(source, file);
}

export function parseConfig(source: string, file: string): LoadResult {
  const lines = new LineCounter();
  const at = (start: number, end = start + 1): Span => {
    const from = lines.linePos(Math.min(start, source.length));
    const to = lines.linePos(Math.min(end, source.length));
    return {
      file,
      start: { offset: start, line: Math.max(1, from.line), column: Math.max(1, from.col) },
      end: { offset: end, line: Math.max(1, to.line), column: Math.max(1, to.col) },
    };
  };
  const failed = (diagnostics: Diagnostic[]): LoadResult => ({ ok: false, diagnostics, source });
  if (Buffer.byteLength(source) > maxConfigBytes) {
    return failed([
      { severity: "error", code: "C002", message: `the file is larger than ${maxConfigBytes} octets`, span: at(0) },
    ]);
  }
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    return failed(
      document.errors.slice(0, 20).map((error) => ({
        severity: "error",
        code: "C003",
        message: `not valid YAML: ${error.message}`,
        hint: "indent with blanks, and quote values that hold `: ` or begin with a special character",
        span: at(error.pos[0], error.pos[1]),
      })),
    );
  }
  let data: unknown;
  try {
    data = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    return failed([{ severity: "error", code: "C003", message: `not valid YAML: ${String(error)}`, span: at(0) }]);
  }
  const parsed = configSchema.safeParse(data ?? {});
  if (!parsed.success) {
    const diagnostics = parsed.error.issues.slice(0, 50).flatMap((issue) => issueDiagnostics(issue, document, at));
    return failed(diagnostics.sort((a, b) => a.span.start.offset - b.span.start.offset));
  }
  const directory = dirname(resolve(file));
  return {
    ok: true,
    loaded: {
      config: withAbsolutePaths(parsed.data, directory),
      budget: budgetWith(definedOnly(parsed.data.limits)),
      file,
      directory,
    },
  };
}

function issueDiagnostics(
  issue: z.core.$ZodIssue,
  document: Document,
  at: (start: number, end?: number) => Span,
): Diagnostic[] {
  const path = issue.path.map(String);
  const where = path.length > 0 ? path.join(".") : "the configuration";
  if (issue.code === "unrecognized_keys") {
    const known = knownKeys(path);
    return issue.keys.map((key) => {
      const near = nearest(key, known);
      return {
        severity: "error",
        code: "C004",
        message: `unknown key "${key}"${path.length > 0 ? ` in ${where}` : ""}`,
        hint: near ? `did you mean "${near}"?` : `known here: ${[...known].join(", ")}`,
        span: spanOf(document, [...path, key], at, true),
      };
    });
  }
  const hint = issue.code === "invalid_value" ? `write one of ${issue.values.map(String).join(", ")}` : undefined;
  return [
    {
      severity: "error",
      code: "C005",
      message: `${where}: ${issue.message}`,
      ...(hint ? { hint } : {}),
      span: spanOf(document, path, at, false),
    },
  ];
}

/** Keys the schema knows at `path`: the zod shapes are walked along it. */
function knownKeys(path: readonly string[]): Set<string> {
  let schemas = unwrap(configSchema);
  for (const part of path) {
    schemas = schemas.flatMap((schema) => {
      const child = schema.shape?.[part] ?? schema.element ?? schema.valueType;
      return child ? unwrap(child) : [];
    });
  }
  return new Set(schemas.flatMap((schema) => Object.keys(schema.shape ?? {})));
}

/** What this file reads of a zod schema's definition. */
interface Definition {
  shape?: Record<string, unknown>;
  element?: unknown;
  valueType?: unknown;
  innerType?: unknown;
  options?: unknown[];
  in?: unknown;
}

/** Strips default, optional, nullable and pipe wrappers, and opens unions. */
function unwrap(schema: unknown): Definition[] {
  const definition = (schema as { def: Definition }).def;
  if (definition.innerType) return unwrap(definition.innerType);
  if (definition.options) return definition.options.flatMap(unwrap);
  if (definition.in) return unwrap(definition.in);
  return [definition];
}

/** Where `path` (its key, or its value) stands; the nearest ancestor that is in the file when it is not. */
function spanOf(
  document: Document,
  path: readonly string[],
  at: (start: number, end?: number) => Span,
  key: boolean,
): Span {
  if (key) {
    const parent = document.getIn(path.slice(0, -1), true);
    const pair = isMap(parent) ? parent.items.find((item) => String(item.key) === path.at(-1)) : undefined;
    if (isNode(pair?.key) && pair.key.range) return at(pair.key.range[0], pair.key.range[1]);
  }
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return at(node.range[0], node.range[1]);
  }
  return at(0);
}

function definedOnly(limits: Config["limits"]): Partial<Record<keyof Config["limits"], number>> {
  return Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
}

function withAbsolutePaths(config: Config, directory: string): Config {
  const absolute = (path: string): string => resolve(directory, path);
  return {
    ...config,
    data: absolute(config.data),
    listeners: config.listeners.map((listener) => ({
      ...listener,
      ...(listener.tls
        ? {
            tls: {
              ...listener.tls,
              cert: absolute(listener.tls.cert),
              key: absolute(listener.tls.key),
              ...(listener.tls.clientCa ? { clientCa: absolute(listener.tls.clientCa) } : {}),
              sni: listener.tls.sni.map((entry) => ({
                ...entry,
                cert: absolute(entry.cert),
                key: absolute(entry.key),
              })),
            },
          }
        : {}),
    })),
    policy: {
      ...config.policy,
      smtpFilters: config.policy.smtpFilters === null ? null : absolute(config.policy.smtpFilters),
      candidate: config.policy.candidate && {
        ...config.policy.candidate,
        smtpFilters: absolute(config.policy.candidate.smtpFilters),
      },
      sieve: config.policy.sieve.map((script) => ({ ...script, file: absolute(script.file) })),
      lists: Object.fromEntries(Object.entries(config.policy.lists).map(([name, file]) => [name, absolute(file)])),
    },
    managesieve: config.managesieve && {
      ...config.managesieve,
      tls: config.managesieve.tls && {
        cert: absolute(config.managesieve.tls.cert),
        key: absolute(config.managesieve.tls.key),
      },
      globalScripts: config.managesieve.globalScripts && absolute(config.managesieve.globalScripts),
    },
    tokens: config.tokens === null ? null : { ...config.tokens, keys: absolute(config.tokens.keys) },
    ldap: config.ldap && { ...config.ldap, ca: config.ldap.ca && absolute(config.ldap.ca) },
    domains: {
      ...config.domains,
      userMaps: config.domains.userMaps.map((map) => ({ ...map, file: absolute(map.file) })),
    },
    relay: {
      ...config.relay,
      tls: { ...config.relay.tls, ca: config.relay.tls.ca === null ? null : absolute(config.relay.tls.ca) },
    },
    rewriting: {
      ...config.rewriting,
      sender: config.rewriting.sender === null ? null : absolute(config.rewriting.sender),
      recipient: config.rewriting.recipient === null ? null : absolute(config.rewriting.recipient),
    },
    dkim: config.dkim.map((entry) => ({ ...entry, key: absolute(entry.key) })),
    arc: config.arc && { ...config.arc, key: absolute(config.arc.key) },
    geoip: {
      database: config.geoip.database === null ? null : absolute(config.geoip.database),
      asn: config.geoip.asn === null ? null : absolute(config.geoip.asn),
    },
  };
}

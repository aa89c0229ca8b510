/**
 * Every diagnostic of smtpFilters scripts: code, severity, and the text of its section in
 * docs/reference/diagnostics.md. Invariants: a code never changes its meaning; new ones are added.
 */
import type { Severity } from "../language/diagnostic.ts";

interface CodeRow {
  severity: Severity;
  title: string;
  /** What it means and what to do. */
  about: string;
}

export const codes = {
  P001: {
    severity: "error",
    title: "The text is not as the grammar wants it",
    about:
      "Something is missing or misplaced. The message says what was expected where the caret stands; a forgotten `;`, `)` or closing quote just before it is the usual cause.",
  },
  P002: {
    severity: "error",
    title: "A character has no meaning here",
    about:
      "Outside of texts the language uses letters, digits, `_`, `( ) { } , ;` and `#`. Texts stand in double quotes.",
  },
  P003: {
    severity: "error",
    title: "A text has no closing quote",
    about: 'Texts may run over several lines, so the missing `"` can be far above the place where the trouble shows.',
  },
  P004: {
    severity: "error",
    title: "A comment has no end",
    about: "A `/*` comment runs to `*/`. Comments of the original language begin with `#` and end with the line.",
  },
  P005: {
    severity: "error",
    title: "Nesting is too deep",
    about:
      "Brackets of all kinds, or the branches of one `if … else if …`, exceed the budget (`nesting`, `elseBranches`). Move inner parts into methods.",
  },
  P006: {
    severity: "error",
    title: "The script is too large",
    about:
      'The script exceeds the budget field `scriptBytes`. Long lists belong into files: `inList (mailFrom, "file:blocked.txt")`.',
  },
  P007: {
    severity: "error",
    title: "No such statement",
    about:
      "Statements are `call`, `set`, `export`, `if`, `rule` and the actions of the [vocabulary](smtpfilters.md#actions). There is no `switch`, no loop, no `return`.",
  },
  P008: {
    severity: "error",
    title: "The program is too large",
    about:
      "Methods are expanded where they are called. The whole exceeds the budget field `rules`; call the large method from fewer places.",
  },
  P009: {
    severity: "error",
    title: "Calls are nested too deep",
    about: "A chain of `call`s is longer than the budget field `callDepth`.",
  },
  P010: {
    severity: "error",
    title: "Unknown event",
    about: "There are twelve [events](smtpfilters.md#events); this is none of them.",
  },
  P011: {
    severity: "error",
    title: "An event is defined twice",
    about: "Put all statements of an event in one block; use methods to divide them.",
  },
  P012: {
    severity: "error",
    title: "A method is defined twice",
    about: "Names are compared without case, so `Spam` and `spam` are one name.",
  },
  P013: {
    severity: "error",
    title: "A method bears a predefined name",
    about: "Own methods and predefined ones share one name space. Choose another name.",
  },
  P014: {
    severity: "error",
    title: "Unknown method",
    about: "`call` names neither a method of this script nor a predefined one.",
  },
  P015: {
    severity: "error",
    title: "A method calls itself",
    about: "Directly or through others. The language has no recursion.",
  },
  P016: {
    severity: "warning",
    title: "Unknown variable",
    about: "The variable is neither predefined nor set anywhere, so it reads as the empty text.",
  },
  P017: {
    severity: "warning",
    title: "A new variable is nearly a predefined one",
    about:
      "Setting an unknown name makes a variable of your own. This one differs by a slip from a predefined name, which stays unset.",
  },
  P018: {
    severity: "error",
    title: "Unknown test",
    about: "The word before `(` is no [comparator](smtpfilters.md#tests).",
  },
  P019: {
    severity: "error",
    title: "An operand of the wrong kind",
    about:
      'A test compares a variable with a text: `is (variable, "text")`. To compare two variables, expand one: `is (a, "%b%")`.',
  },
  P020: {
    severity: "warning",
    title: "Setting has no effect in this event",
    about:
      "The variable can be set in another event of the same context, not in this one: the statement is ignored, as in the original.",
  },
  P021: {
    severity: "warning",
    title: "Setting a read-only variable",
    about:
      "No event of this context lets a script set the variable; the statement is ignored. An error under `--strict`.",
  },
  P022: {
    severity: "warning",
    title: "The variable is not known in this event",
    about: "It reads as the empty text here. Test it in a later event, or `export` it where it is known.",
  },
  P023: {
    severity: "warning",
    title: "The method does nothing in this event",
    about: "It needs something that is not there yet (or no longer); the call is ignored, as in the original.",
  },
  P024: {
    severity: "warning",
    title: "A result is read before its method was called",
    about: "Results of checks are empty until `call (…)` ran, in this event or an earlier one.",
  },
  P025: {
    severity: "warning",
    title: "The method is historic",
    about: "DomainKeys (RFC 4870) was replaced by DKIM (RFC 6376); the call is accepted and does nothing.",
  },
  P026: {
    severity: "warning",
    title: "The variable does not live here",
    about: "It is set in another block and ends with it. `export` it there to keep it, or set it before the call.",
  },
  P030: {
    severity: "warning",
    title: "Not a number in range",
    about: "The engine ignores the assignment and keeps the old value.",
  },
  P031: {
    severity: "warning",
    title: "Not one of the choices",
    about: "The engine ignores such an assignment; a comparison with such a word is never true.",
  },
  P032: {
    severity: "warning",
    title: "The reply can't carry this text",
    about:
      "SMTP replies are printable ASCII in lines of at most 512 octets (RFC 5321 §4.5.3.1.5). Other characters are replaced, long lines divided.",
  },
  P033: {
    severity: "error",
    title: "Bad regular expression",
    about: "Patterns are Perl-like and run in linear time, so back-references and look-around are not available.",
  },
  P034: {
    severity: "error",
    title: "Bad address range",
    about:
      "Forms: `192.0.2.7`, `192.0.2.0/24`, `192.0.2.0/255.255.255.0`, `192.0.2.1-192.0.2.9`, IPv6 likewise; several divided by blanks or commas.",
  },
  P035: {
    severity: "warning",
    title: "Comparison with something that is no number",
    about: "`greaterThan` and `lessThan` are false when either side is not a whole number.",
  },
  P036: {
    severity: "error",
    title: "Too many expansions in one text",
    about: "A text holds more `%name%` than the budget field `expansions` allows.",
  },
  P037: {
    severity: "warning",
    title: "A variable is part of a pattern",
    about:
      "Its value is read as pattern, not as plain text; a value from the client can then match what you don't expect. Use `contains` or `is`.",
  },
  P038: {
    severity: "warning",
    title: "The reply code is of no use",
    about:
      "An explanation may begin with a reply code of the class of its action: 5xx for reject, 4xx for tmpreject, 2xx for accept. Any other code is sent as part of the text.",
  },
  P039: {
    severity: "error",
    title: "A bad rate",
    about: "A rate is a count and a time: `100/1h`, `5/30s`, `20/10m`, `1000/1d`.",
  },
  P040: {
    severity: "warning",
    title: "The test can't be true",
    about: "Its parts contradict each other or the tests around it.",
  },
  P042: {
    severity: "warning",
    title: "The rule is never reached",
    about: "An earlier branch of the same `if` takes all its cases.",
  },
  P043: {
    severity: "warning",
    title: "The value is always overwritten",
    about:
      "A later statement of the same event sets the variable whatever happens, before anything reads it. The last assignment wins; put the exception after the rule.",
  },
  P044: {
    severity: "info",
    title: "The method is never called",
    about: "Legal: a disabled rule. It is checked but does nothing.",
  },
  P045: { severity: "info", title: "The rule does nothing", about: "Its body is empty." },
  P046: {
    severity: "info",
    title: "What happens when the check fails",
    about:
      "The call has no `onError`, so the default named in the message applies. Say it: `call (checkSPF) onError ignore;`",
  },
  P050: {
    severity: "warning",
    title: "Not part of the original language",
    about: "Shown under `--strict` only: other servers would refuse this script.",
  },
  P051: {
    severity: "warning",
    title: "A comment in C style",
    about: "`/* */` is accepted here, but the original language only has `#`.",
  },
  P052: {
    severity: "warning",
    title: "The name is our choice",
    about:
      "Shown under `--strict` only: the original has the function, but no public source shows how it spells the name.",
  },
  P060: {
    severity: "warning",
    title: "An assertion can't be read",
    about:
      'A comment that begins with `assert` is a property for `postern prove`: `# assert never accept when mailFromDomain is "corp.example" and not authenticated`. Write prose with another first word.',
  },
} as const satisfies Record<string, CodeRow>;

export type Code = keyof typeof codes;

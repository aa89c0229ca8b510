-- Opens a script in Neovim with `postern lsp` as its language server and writes what the editor learned as JSON.
-- Variables from the caller: node, main, file, result.
local uri = vim.uri_from_fname(vim.g.file)
vim.cmd("edit " .. vim.fn.fnameescape(vim.g.file))
local client = vim.lsp.start_client({ name = "postern", cmd = { vim.g.node, vim.g.main, "lsp" } })
vim.lsp.buf_attach_client(0, client)
local function diagnostics()
  return vim.tbl_map(function(d) return d.code or d.user_data.lsp.code end, vim.diagnostic.get(0))
end
local learned = { opened = vim.wait(8000, function() return #diagnostics() > 0 end, 20) }
learned.codes = diagnostics()
local params = { textDocument = { uri = uri }, position = { line = 1, character = 8 } }
local function ask(method, more)
  local answers = vim.lsp.buf_request_sync(0, method, vim.tbl_extend("force", params, more or {}), 8000)
  return answers and answers[client] and answers[client].result
end
local hover = ask("textDocument/hover", { position = { line = 0, character = 8 } })
learned.hover = hover and hover.contents.value
vim.api.nvim_buf_set_lines(0, 1, 2, false, { "  call (Block_List);" })
learned.fixed = vim.wait(8000, function() return not vim.tbl_contains(diagnostics(), "P014") end, 20)
vim.lsp.util.apply_workspace_edit(ask("textDocument/rename", { newName = "Blocked" }), "utf-16")
learned.lines = vim.api.nvim_buf_get_lines(0, 0, -1, false)
vim.fn.writefile({ vim.fn.json_encode(learned) }, vim.g.result)
vim.lsp.stop_client(client)
vim.cmd("qall!")

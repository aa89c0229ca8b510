# An account's filter: mailing lists into folders, an answer while away.
require ["fileinto", "variables", "vacation", "envelope", "subaddress", "mailbox"];

# user+folder@example.org goes to the folder of that name.
if envelope :matches :detail "to" "*" {
    set :lower :upperfirst "folder" "${1}";
    fileinto :create "${folder}";
    stop;
}

# List-Id: Name <list.example.org> goes to lists.list.
if header :matches "list-id" "*<*.*" {
    set :lower "list" "${2}";
    fileinto :create "lists.${list}";
    stop;
}

vacation :days 7 :subject "Away" "I am away and will read your message when I am back.";

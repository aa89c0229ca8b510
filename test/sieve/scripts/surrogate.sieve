require ["encoded-character"];
if header "subject" "${unicode:DF01}" { keep; }

require ["enclose", "variables"];
enclose :subject "Warning" text:
The attached message may be dangerous.
.
;

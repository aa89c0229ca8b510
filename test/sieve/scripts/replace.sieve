require ["foreverypart", "mime", "replace"];
foreverypart {
  if header :mime :type "Content-Type" "application" {
    replace "An attachment was taken off.";
  }
}

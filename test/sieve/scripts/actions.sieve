require ["fileinto"];
fileinto "Box";
redirect "a@b.example";

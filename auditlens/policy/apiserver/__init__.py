"""What kube-apiserver does with an audit policy: reads, refuses, decides, and what it serves that a policy can name."""

"""Images in: sources, the long-tailed draw, groups of classes, budgets; nothing here imports torch until CIFAR is read."""

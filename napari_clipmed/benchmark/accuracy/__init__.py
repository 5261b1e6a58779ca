"""The papers' comparison and ablation tables on data that anyone can get: same split, same budget."""

"""What joins training and live decisions in time: retraining, and its backtest."""
